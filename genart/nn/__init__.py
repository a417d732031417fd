"""Shared torch code for plugins: the only heavy package, which never imports the layers above."""
