"""Who asks: sign-in, sessions, and the one door that every request of the web process passes."""
