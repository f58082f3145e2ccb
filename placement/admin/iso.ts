/** µs since 1970 as ISO 8601 in UTC, to the millisecond; by hand, since decisions' rooms have no `Date`. */
export function isoOf(micros: number): string {
  const ms = Math.floor(micros / 1000);
  const days = Math.floor(ms / 86_400_000);
  const rest = ms - days * 86_400_000;
  const { year, month, day } = civilOf(days);
  const pad = (value: number, digits: number): string => String(value).padStart(digits, "0");
  const time = [rest / 3_600_000, (rest / 60_000) % 60, (rest / 1000) % 60];
  const [hours, minutes, seconds] = time.map((part) => pad(Math.floor(part), 2));
  return `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}T${hours}:${minutes}:${seconds}.${pad(rest % 1000, 3)}Z`;
}

/**
 * The Gregorian date of a day counted from 1970-01-01: years begin in March, so that the leap day is the
 * last of its year, and 400 of them have 146,097 days.
 */
function civilOf(daysSince1970: number): { year: number; month: number; day: number } {
  const days = daysSince1970 + 719_468;
  const era = Math.floor(days / 146_097);
  const dayOfEra = days - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1_460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}
