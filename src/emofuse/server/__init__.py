"""``emofuse serve``: predictions over HTTP and in a browser (extra ``serve``)."""
