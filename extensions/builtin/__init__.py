"""Our own extensions; extensions.opening names them."""
