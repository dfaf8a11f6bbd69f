// One side of a session's three data channels, as a page has them. Messages are made from a number,
// so that each side can work out what the other one sends.

const CHANNELS = ["duet-ctl", "duet-ops", "duet-bulk"];
const HIGH = 1 << 20;

function mixed(word) {
  word = Math.imul(word ^ (word >>> 16), 0x45d9f3b);
  word = Math.imul(word ^ (word >>> 16), 0x45d9f3b);
  return (word ^ (word >>> 16)) >>> 0;
}

function message(side, channel, number) {
  const seed = mixed(side * 1000003 + channel * 10007 + number + 1);
  const share = seed / 4294967296;
  const size = Math.floor(share * share * 16384) * 4; // many small ones, up to 65,532 bytes
  const words = new Uint32Array(size / 4);
  for (let at = 0; at < words.length; at++) words[at] = mixed(seed + at);
  return words;
}

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

window.duet = {
  open() {
    this.connection = new RTCPeerConnection({ iceServers: [] });
    this.heard = [[], [], []];
    this.channels = CHANNELS.map((label, id) => {
      const channel = this.connection.createDataChannel(label, { negotiated: true, id });
      channel.binaryType = "arraybuffer";
      channel.bufferedAmountLowThreshold = HIGH / 2;
      channel.onmessage = (event) => this.heard[id].push(event.data);
      return channel;
    });
  },
  async offer() {
    this.open();
    await this.connection.setLocalDescription(await this.connection.createOffer());
    return gathered(this.connection);
  },
  async answer(sdp) {
    this.open();
    await this.connection.setRemoteDescription({ type: "offer", sdp });
    await this.connection.setLocalDescription(await this.connection.createAnswer());
    return gathered(this.connection);
  },
  take(sdp) {
    return this.connection.setRemoteDescription({ type: "answer", sdp });
  },
  async say(side, count) {
    await Promise.all(
      this.channels.map(async (channel, id) => {
        if (channel.readyState !== "open") {
          await new Promise((done) => (channel.onopen = done));
        }
        for (let number = 0; number < count; number++) {
          if (channel.bufferedAmount > HIGH) {
            await new Promise((done) => (channel.onbufferedamountlow = done));
          }
          channel.send(message(side, id, number));
        }
      }),
    );
  },
  // What is wrong with what was heard; empty once all of it is right, null while some is missing.
  judge(side, count) {
    if (this.heard.some((list) => list.length < count)) return null;
    for (const [id, list] of this.heard.entries()) {
      if (list.length !== count) return `${list.length} messages on channel ${id}`;
      for (const [number, data] of list.entries()) {
        const [want, got] = [message(side, id, number), new Uint32Array(data)];
        if (want.length !== got.length || want.some((word, at) => word !== got[at])) {
          return `message ${number} on channel ${id} is another one`;
        }
      }
    }
    return "";
  },
};
