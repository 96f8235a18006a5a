"""What pages can do: each action has a question, which a GET shows, and an act, which a POST does."""
