"""Training jobs: utilisation (MFU) and critical batch size. Nothing is here yet."""
