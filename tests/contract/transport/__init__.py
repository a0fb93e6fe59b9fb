"""What every transport must do, shown by ours and by aiohttp as the oracle, on both event loops."""
