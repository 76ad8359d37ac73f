"""All about PostgreSQL: connections, sessions, errors, roles and migrations."""
