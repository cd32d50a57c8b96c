"""TensorRT on the robot: engines are built, kept and run here. Nothing of TensorRT or CUDA is imported until asked."""
