def probe_bound(x, y):
    raise ValueError("not there yet")
