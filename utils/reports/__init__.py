"""Reports on paper: what they say (`content`), how they look (`pdf`), how they verify (`qr`)."""
