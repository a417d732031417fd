"""Files from strangers: recipes, pictures, models and names, each used by a child whose every act is noted."""
