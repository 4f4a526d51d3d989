"""How ranks reach each other: process group, mesh dimensions, messages through sockets or shared memory."""
