"""What any learner needs: batches on the device, weights in the dtype of an update, its capture and its watch."""
