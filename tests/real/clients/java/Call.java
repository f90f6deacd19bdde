import com.google.rpc.ErrorInfo;
import dev.hanse.api.dns.v1.DnsServiceGrpc;
import dev.hanse.api.dns.v1.GetZoneRequest;
import dev.hanse.api.dns.v1.ListRecordSetsRequest;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import java.io.File;
import java.util.concurrent.TimeUnit;

/** Calls a Hanse service with the generated client of DnsService: what it prints is for the test to compare. */
public final class Call {
  public static void main(String[] words) throws Exception {
    var tls = GrpcSslContexts.forClient().trustManager(new File(words[1]));
    tls.keyManager(new File(words[2]), new File(words[3]));
    ManagedChannel channel = NettyChannelBuilder.forTarget(words[0]).sslContext(tls.build()).build();
    var client = DnsServiceGrpc.newBlockingStub(channel).withDeadlineAfter(20, TimeUnit.SECONDS);
    var asked = ListRecordSetsRequest.newBuilder().setParent("zones/example.org");
    asked.setFilter("scope = GLOBAL AND service.name = \"web\"");
    for (var record : client.listRecordSets(asked.build()).getRecordSetsList()) {
      System.out.println(record.getName() + " " + record.getScope() + " " + record.getEndpoints(0).getAddress());
    }
    try {
      client.getZone(GetZoneRequest.newBuilder().setName("zones/example.com").build());
    } catch (StatusRuntimeException refused) {
      var info = StatusProto.fromThrowable(refused).getDetails(0).unpack(ErrorInfo.class);
      var code = refused.getStatus().getCode();
      System.out.println(code + " " + info.getReason() + " " + info.getMetadataOrThrow("name"));
    }
    channel.shutdownNow();
  }
}
