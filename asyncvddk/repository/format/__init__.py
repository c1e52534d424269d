"""What the objects of a repository hold, what they are called, and how they are sealed. Pure: nothing here stores."""
