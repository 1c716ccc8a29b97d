"""The weights that come with lvray; README.md here is their model card."""
