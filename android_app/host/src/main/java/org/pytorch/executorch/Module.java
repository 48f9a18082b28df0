package org.pytorch.executorch;

import java.io.Closeable;
import java.io.File;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;

/** Stands in for the AAR's class of this name on the host: the same signatures over the same C++ library. */
public class Module implements Closeable {
    public static final int LOAD_MODE_FILE = 0;
    public static final int LOAD_MODE_MMAP = 1;
    public static final int LOAD_MODE_MMAP_USE_MLOCK = 2;
    public static final int LOAD_MODE_MMAP_USE_MLOCK_IGNORE_ERRORS = 3;

    private static final AtomicInteger OPEN = new AtomicInteger();
    private long handle;

    private Module(long handle) {
        this.handle = handle;
    }

    /** Modules opened and not destroyed, for tests that count. */
    public static int openModules() {
        return OPEN.get();
    }

    public static Module load(String modelPath) {
        return load(modelPath, LOAD_MODE_FILE);
    }

    public static Module load(String modelPath, int loadMode) {
        return load(modelPath, loadMode, 0);
    }

    public static Module load(String modelPath, int loadMode, int numThreads) {
        File file = new File(modelPath);
        if (!file.canRead() || !file.isFile()) {
            throw new RuntimeException("Cannot load model path " + modelPath);
        }
        Module module = new Module(NativeModule.open(modelPath, loadMode, numThreads));
        OPEN.incrementAndGet();
        return module;
    }

    public String[] getMethods() {
        return NativeModule.methods(alive());
    }

    public void loadMethod(String methodName) {
        int error = NativeModule.loadMethod(alive(), methodName);
        if (error != 0) {
            throw ExecutorchRuntimeException.makeExecutorchException(error, "Failed to load method: " + methodName);
        }
    }

    public EValue[] execute(String methodName, EValue... inputs) {
        Tensor[] tensors = Arrays.stream(inputs).map(EValue::toTensor).toArray(Tensor[]::new);
        Buffer[] data = Arrays.stream(tensors).map(Tensor::getRawDataBuffer).toArray(Buffer[]::new);
        long[][] shapes = Arrays.stream(tensors).map(Tensor::shape).toArray(long[][]::new);
        int[] dtypes = Arrays.stream(tensors).mapToInt(tensor -> tensor.dtype().code).toArray();
        Object[] outputs = NativeModule.execute(alive(), methodName, data, shapes, dtypes);
        EValue[] values = new EValue[outputs.length / 2];
        for (int index = 0; index < values.length; index++) {
            values[index] = EValue.from(tensor((long[]) outputs[2 * index], (ByteBuffer) outputs[2 * index + 1]));
        }
        return values;
    }

    public void destroy() {
        if (handle != 0) {
            NativeModule.close(handle);
            handle = 0;
            OPEN.decrementAndGet();
        }
    }

    @Override
    public void close() {
        destroy();
    }

    private static Tensor tensor(long[] header, ByteBuffer bytes) {
        ByteBuffer copy = ByteBuffer.allocateDirect(bytes.capacity()).order(ByteOrder.nativeOrder());
        copy.put(bytes).rewind();
        return new Tensor(DType.of((int) header[0]), copy, Arrays.copyOfRange(header, 1, header.length));
    }

    private long alive() {
        if (handle == 0) {
            throw new IllegalStateException("Module has been destroyed");
        }
        return handle;
    }
}
