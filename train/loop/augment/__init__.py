"""What the discriminator sees: augmentation, fixed or adaptive."""
