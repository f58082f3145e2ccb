import type { SimLink, SimNetwork } from "#transport";

/** One thing that is wrong with some links. Later ones are laid over earlier ones. */
export interface LinkFault {
  readonly applies: (from: string, to: string) => boolean;
  readonly link: Partial<SimLink>;
}

/** Keeps all that is wrong with the network at the moment, so that each fault can end without ending others. */
export class Links {
  readonly #network: SimNetwork;
  readonly #hosts: () => readonly string[];
  #usual: SimLink;
  #faults: LinkFault[] = [];

  constructor(network: SimNetwork, usual: SimLink, hosts: () => readonly string[]) {
    this.#network = network;
    this.#usual = usual;
    this.#hosts = hosts;
    network.setDefaultLink(usual);
  }

  /** What links are like where nothing is wrong. */
  setUsual(link: SimLink): void {
    this.#usual = link;
    this.#network.setDefaultLink(link);
    this.refresh();
  }

  /** @returns ends the fault */
  add(fault: LinkFault): () => void {
    this.#faults.push(fault);
    this.refresh();
    return () => {
      this.#faults = this.#faults.filter((other) => other !== fault);
      this.refresh();
    };
  }

  /** After a host was added, too. */
  refresh(): void {
    const hosts = this.#hosts();
    for (const from of hosts) {
      for (const to of hosts) {
        const link = { ...this.#usual };
        for (const fault of this.#faults) if (fault.applies(from, to)) Object.assign(link, fault.link);
        this.#network.setLink(from, to, link);
      }
    }
  }
}
