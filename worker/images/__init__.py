"""Images: pull, push, tag, copy, verify and delete them."""
