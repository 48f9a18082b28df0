package org.pytorch.executorch;

import java.nio.Buffer;

/** What module.cpp implements. Handles are C++ pointers: 0 is none. */
final class NativeModule {
    static {
        System.loadLibrary("dreamlite_host");
    }

    private NativeModule() {}

    static native long open(String path, int mode, int threads);

    static native String[] methods(long handle);

    /** 0, or ExecuTorch's error number. */
    static native int loadMethod(long handle, String method);

    /** For each output a long[] {dtype, side, ...} and a ByteBuffer over memory that the next call overwrites. */
    static native Object[] execute(long handle, String method, Buffer[] data, long[][] shapes, int[] dtypes);

    static native void close(long handle);
}
