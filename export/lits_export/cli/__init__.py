"""The command of the export: lits-export."""
