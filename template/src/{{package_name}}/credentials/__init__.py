"""How the service proves to PostgreSQL who it is."""
