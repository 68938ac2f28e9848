var<immediate> clock: Clock;
