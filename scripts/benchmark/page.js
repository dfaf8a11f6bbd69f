// Bulk from and to a page: one negotiated channel, messages of 64 KiB less a little.

const SIZE = 65536;
const HIGH = 1 << 20;

async function gathered(connection) {
  if (connection.iceGatheringState !== "complete") {
    await new Promise((done) => {
      connection.addEventListener("icegatheringstatechange", () => {
        if (connection.iceGatheringState === "complete") done();
      });
    });
  }
  return connection.localDescription.sdp;
}

function opened(channel) {
  if (channel.readyState === "open") return Promise.resolve();
  return new Promise((done) => channel.addEventListener("open", done, { once: true }));
}

// What a session's peer has: three channels; the last one is measured.
function channels(connection) {
  const made = ["duet-ctl", "duet-ops", "duet-bulk"].map((label, id) =>
    connection.createDataChannel(label, { negotiated: true, id }),
  );
  for (const channel of made) {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = HIGH / 2;
  }
  return made;
}

async function stream(channel, count) {
  const data = crypto.getRandomValues(new Uint8Array(SIZE));
  for (let number = 0; number < count; number++) {
    if (channel.bufferedAmount > HIGH) {
      await new Promise((done) => (channel.onbufferedamountlow = done));
    }
    channel.send(data);
  }
}

// Seconds from the first send until the other side has said that it has all.
async function timed(bulk, ctl, count) {
  const started = performance.now();
  const answered = new Promise((done) => (ctl.onmessage = done));
  await stream(bulk, count);
  await answered;
  return (performance.now() - started) / 1000;
}

// Says so on ctl once `count` messages have come.
function counting(bulk, ctl, count) {
  let heard = 0;
  bulk.onmessage = () => {
    heard += 1;
    if (heard === count) ctl.send(new Uint8Array([1]));
  };
}

window.bench = {
  async answer(sdp) {
    this.connection = new RTCPeerConnection({ iceServers: [] });
    [this.ctl, this.ops, this.bulk] = channels(this.connection);
    await this.connection.setRemoteDescription({ type: "offer", sdp });
    await this.connection.setLocalDescription(await this.connection.createAnswer());
    return gathered(this.connection);
  },
  async send(count) {
    await opened(this.bulk);
    return timed(this.bulk, this.ctl, count);
  },
  async take(count) {
    await opened(this.bulk);
    counting(this.bulk, this.ctl, count);
  },
  // Two connections in one page, which is the friendliest case that Chromium has.
  async join() {
    const [one, two] = [0, 1].map(() => new RTCPeerConnection({ iceServers: [] }));
    const [ours, theirs] = [channels(one), channels(two)];
    one.onicecandidate = (event) => event.candidate && two.addIceCandidate(event.candidate);
    two.onicecandidate = (event) => event.candidate && one.addIceCandidate(event.candidate);
    await one.setLocalDescription(await one.createOffer());
    await two.setRemoteDescription(one.localDescription);
    await two.setLocalDescription(await two.createAnswer());
    await one.setRemoteDescription(two.localDescription);
    await Promise.all([...ours, ...theirs].map(opened));
    this.joined = { ours, theirs };
  },
  async alone(count) {
    const { ours, theirs } = this.joined;
    counting(theirs[2], theirs[0], count);
    return timed(ours[2], ours[0], count);
  },
};
