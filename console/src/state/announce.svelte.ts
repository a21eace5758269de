// What is told to people who do not see the page change.
class Announcer {
  text = $state('');

  say(text: string): void {
    // The same sentence twice is a change as well.
    this.text = this.text === text ? `${text} ` : text;
  }
}

export const announcer = new Announcer();
