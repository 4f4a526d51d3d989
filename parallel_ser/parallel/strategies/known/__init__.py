"""One module a strategy; each found module is one, see ``registry``."""
