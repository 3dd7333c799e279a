"""Looking back: what ran when and where, what it cost, and pictures of it. Pure: facts in, data or markup out."""
