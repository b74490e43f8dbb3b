"""Object stores and web servers: objects listed, fetched to local scratch, and put whole."""
