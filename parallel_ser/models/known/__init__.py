"""One module a model; each found module is one, see ``registry``."""
