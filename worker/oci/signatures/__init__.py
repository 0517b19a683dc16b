"""Signatures and attestations of images in cosign's formats, with key pairs.

A *signed document* is what a registry stores beside an image. Version 2 of cosign stores it under a
tag (`simple_signing`, `dsse`), version 3 in a bundle that refers to the image (`bundle`).
"""
