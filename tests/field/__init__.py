"""What others build on Django's engines, run on ours; see __main__."""
