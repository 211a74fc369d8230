"""What is asked, and answers seen token by token."""
