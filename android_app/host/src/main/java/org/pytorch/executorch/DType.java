package org.pytorch.executorch;

/** Stands in for the AAR's class of this name on the host. */
public enum DType {
    UINT8(0),
    INT8(1),
    INT16(2),
    INT32(3),
    INT64(4),
    HALF(5),
    FLOAT(6),
    DOUBLE(7);

    final int code;

    DType(int code) {
        this.code = code;
    }

    static DType of(int code) {
        for (DType dtype : values()) {
            if (dtype.code == code) {
                return dtype;
            }
        }
        throw new IllegalArgumentException("No DType found for code " + code);
    }
}
