"""The command line: parse, call datapath, render. One file for each group of commands."""
