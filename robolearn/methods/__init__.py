"""The methods, one package each. A method builds on ``robolearn.rl`` by composition and never imports another one."""
