"""Options and kinds of arguments that commands share."""
