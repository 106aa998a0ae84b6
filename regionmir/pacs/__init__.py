"""PACSs that we follow: their studies imported, their deletions respected."""
