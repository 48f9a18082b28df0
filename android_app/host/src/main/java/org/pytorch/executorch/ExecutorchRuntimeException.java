package org.pytorch.executorch;

/** Stands in for the AAR's class of this name on the host; numbers are those of ExecuTorch's runtime/core/error.h. */
public class ExecutorchRuntimeException extends RuntimeException {
    public static final int NOT_SUPPORTED = 0x10;
    public static final int INVALID_ARGUMENT = 0x12;
    public static final int OPERATOR_MISSING = 0x14;
    public static final int NOT_FOUND = 0x20;
    public static final int MEMORY_ALLOCATION_FAILED = 0x21;
    public static final int ACCESS_FAILED = 0x22;
    public static final int INVALID_PROGRAM = 0x23;
    public static final int INVALID_EXTERNAL_DATA = 0x24;
    public static final int OUT_OF_RESOURCES = 0x25;
    public static final int DELEGATE_INVALID_COMPATIBILITY = 0x30;
    public static final int DELEGATE_MEMORY_ALLOCATION_FAILED = 0x31;

    private final int errorCode;

    public ExecutorchRuntimeException(int errorCode, String details) {
        super(String.format("[ExecuTorch Error 0x%x] %s", errorCode, details));
        this.errorCode = errorCode;
    }

    public int getErrorCode() {
        return errorCode;
    }

    public static RuntimeException makeExecutorchException(int errorCode, String details) {
        return new ExecutorchRuntimeException(errorCode, details);
    }
}
