"""What `flask bench` measures: the way of one image, and many clients against real servers."""
