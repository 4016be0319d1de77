"""From one scan to its maps, score and quality flags."""
