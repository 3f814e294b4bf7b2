"""What sliders and latents control: attributes that are known, and measures of them."""
