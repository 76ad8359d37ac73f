"""Creates FastAPI services on PostgreSQL."""
