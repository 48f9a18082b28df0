import com.android.apksig.ApkSigner;
import com.android.apksig.ApkVerifier;
import com.android.tools.r8.R8;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;

/**
 * java -cp R8:APKSIG Apk.java APP ANDROID_JAR JAVA_HOME RUNTIME_CLASSES: what Maven compiled, shrunk by R8 with the rules that
 * Gradle uses, and the resources, signed with a debug key made for it: APP/target/app-debug.apk. RUNTIME_CLASSES stand in for
 * ExecuTorch's AAR and are only looked at: no runtime is packed.
 */
final class Apk {
    private static final String PASSWORD = "android";

    public static void main(String[] arguments) throws Exception {
        Path app = Path.of(arguments[0]);
        Path target = app.resolve("target");
        Path dex = target.resolve("dex");
        Files.createDirectories(dex);
        List<String> shrink = new ArrayList<>(List.of("--debug", "--lib", arguments[1], "--lib", arguments[2]));
        shrink.addAll(List.of("--classpath", arguments[3], "--min-api", "29", "--output", dex.toString()));
        for (String rules : List.of("proguard-rules.pro", "../executorch/consumer-rules.pro", "tools/maven-rules.pro")) {
            shrink.addAll(List.of("--pg-conf", app.resolve(rules).toString()));
        }
        shrink.add(target.resolve("app-0.1.0.jar").toString());
        shrink.addAll(List.of(Files.readString(target.resolve("packed")).trim().split(java.io.File.pathSeparator)));
        R8.main(shrink.toArray(String[]::new));
        Path unsigned = target.resolve("app-unsigned.apk");
        pack(target.resolve("resources.apk"), dex, unsigned);
        Path apk = target.resolve("app-debug.apk");
        sign(unsigned, apk, target.resolve("debug.p12"), Path.of(arguments[2]));
        System.out.println("app-debug.apk: " + Files.size(apk) + " bytes");
    }

    private static void pack(Path resources, Path dex, Path out) throws IOException {
        try (ZipFile from = new ZipFile(resources.toFile()); ZipOutputStream to = new ZipOutputStream(Files.newOutputStream(out))) {
            for (ZipEntry entry : from.stream().toList()) {
                byte[] bytes = from.getInputStream(entry).readAllBytes();
                ZipEntry copy = new ZipEntry(entry.getName());
                copy.setMethod(entry.getMethod());
                if (entry.getMethod() == ZipEntry.STORED) {
                    copy.setSize(bytes.length);
                    copy.setCrc(entry.getCrc());
                }
                to.putNextEntry(copy);
                to.write(bytes);
            }
            try (Stream<Path> files = Files.list(dex)) {
                for (Path file : files.filter(path -> path.toString().endsWith(".dex")).sorted().toList()) {
                    to.putNextEntry(new ZipEntry(file.getFileName().toString()));
                    Files.copy(file, to);
                }
            }
        }
    }

    private static void sign(Path in, Path out, Path store, Path java) throws Exception {
        if (!Files.exists(store)) {
            List<String> make = List.of(java.resolve("bin/keytool").toString(), "-genkeypair", "-keystore", store.toString(),
                    "-storetype", "PKCS12", "-storepass", PASSWORD, "-alias", "androiddebugkey", "-keyalg", "RSA", "-keysize", "2048",
                    "-validity", "10000", "-dname", "CN=Android Debug,O=Android,C=US");
            if (new ProcessBuilder(make).redirectErrorStream(true).start().waitFor() != 0) throw new IOException("keytool failed");
        }
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (InputStream stream = Files.newInputStream(store)) {
            keys.load(stream, PASSWORD.toCharArray());
        }
        PrivateKey key = (PrivateKey) keys.getKey("androiddebugkey", PASSWORD.toCharArray());
        X509Certificate certificate = (X509Certificate) keys.getCertificate("androiddebugkey");
        new ApkSigner.Builder(List.of(new ApkSigner.SignerConfig.Builder("CERT", key, List.of(certificate)).build()))
                .setInputApk(in.toFile()).setOutputApk(out.toFile()).setMinSdkVersion(29)
                .setV1SigningEnabled(false).setV2SigningEnabled(true).setV3SigningEnabled(true).build().sign();
        ApkVerifier.Result result = new ApkVerifier.Builder(out.toFile()).build().verify();
        if (!result.isVerified()) throw new IOException(out + ": the signature does not hold: " + result.getErrors());
    }
}
