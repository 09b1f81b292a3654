"""Runs into reports: what is said (`document`), and three ways to write it (`html`, `pdf`, `markdown`)."""
