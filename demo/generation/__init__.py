"""A small generation service that speaks the task API and really renders: short MP4 clips and PNG pictures, on the CPU.

It knows nothing of the portal. Its progress is honest: frames encoded of frames to encode.
"""
