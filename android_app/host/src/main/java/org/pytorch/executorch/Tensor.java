package org.pytorch.executorch;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;

/** Stands in for the AAR's class of this name on the host; of its many dtypes only float32 can be read and written. */
public class Tensor {
    private final DType dtype;
    private final Buffer data;
    private final long[] shape;

    Tensor(DType dtype, Buffer data, long[] shape) {
        this.dtype = dtype;
        this.data = data;
        this.shape = shape.clone();
    }

    public static Tensor fromBlob(FloatBuffer data, long[] shape) {
        long count = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
        if (!data.isDirect() || data.order() != ByteOrder.nativeOrder()) {
            throw new IllegalArgumentException("Data buffer must be direct and of native byte order");
        }
        if (data.capacity() != count) {
            throw new IllegalArgumentException("Inconsistent data capacity:" + data.capacity() + " and shape number elements:" + count);
        }
        return new Tensor(DType.FLOAT, data, shape);
    }

    public DType dtype() {
        return dtype;
    }

    public long[] shape() {
        return shape.clone();
    }

    public void copyDataInto(FloatBuffer target) {
        if (dtype != DType.FLOAT) {
            throw new IllegalStateException("Tensor of type " + dtype + " cannot copy data into FloatBuffer.");
        }
        FloatBuffer floats = data instanceof ByteBuffer ? ((ByteBuffer) data).asFloatBuffer() : ((FloatBuffer) data);
        floats.rewind();
        target.put(floats);
    }

    Buffer getRawDataBuffer() {
        return data;
    }
}
