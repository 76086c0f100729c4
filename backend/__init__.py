"""The model manager: from a request to raw pixels, the queue around it, and the bytes on disk."""
