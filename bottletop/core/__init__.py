"""What every wing stands on: errors, settings, paths, files."""
