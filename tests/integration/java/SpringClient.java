import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.requestreply.RequestReplyFuture;
import org.springframework.kafka.support.TopicPartitionOffset;

/** Asks by Spring's own request/reply, unchanged, and prints one reply per line: the arguments say whom and what. */
public class SpringClient {

    /** Arguments: bootstrap servers, requests topic, replies topic, reply partition (-1: by group), bodies. */
    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0], requests = arguments[1], replies = arguments[2];
        int partition = Integer.parseInt(arguments[3]);
        var consumers = new DefaultKafkaConsumerFactory<>(
            Map.of("bootstrap.servers", servers, "auto.offset.reset", "latest", "group.id", "spring-" + replies),
            new StringDeserializer(), new StringDeserializer());
        var producers = new DefaultKafkaProducerFactory<>(
            Map.of("bootstrap.servers", servers), new StringSerializer(), new StringSerializer());
        var listening = partition < 0
            ? new ContainerProperties(replies)
            : new ContainerProperties(
                new TopicPartitionOffset(replies, partition, TopicPartitionOffset.SeekPosition.END));
        var container = new KafkaMessageListenerContainer<>(consumers, listening);
        var template = new ReplyingKafkaTemplate<String, String, String>(producers, container);
        template.setSharedReplyTopic(true);
        template.setDefaultReplyTimeout(Duration.ofSeconds(20));
        template.afterPropertiesSet();
        template.start();
        try {
            if (!template.waitForAssignment(Duration.ofSeconds(30))) {
                throw new IllegalStateException("no reply partition was assigned in 30 s");
            }
            List<RequestReplyFuture<String, String, String>> asked = new ArrayList<>();
            for (int place = 4; place < arguments.length; place++) {
                asked.add(template.sendAndReceive(new ProducerRecord<>(requests, arguments[place])));
            }
            for (var each : asked) {
                ConsumerRecord<String, String> reply = each.get(25, TimeUnit.SECONDS);
                System.out.println(reply.partition() + " " + reply.value());
            }
        } finally {
            template.stop();
            template.destroy();
            producers.destroy();
        }
    }
}
