"""Who is calling: access tokens of an OpenID Connect provider, verified, become principals."""
