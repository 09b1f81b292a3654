"""What the vendors' management tools print."""
